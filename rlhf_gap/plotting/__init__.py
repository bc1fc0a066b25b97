"""Plotting shared by all figures: styles, axes, SVG, PNG and CSV files."""
