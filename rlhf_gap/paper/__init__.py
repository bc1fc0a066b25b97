"""The paper's figures: each with its statement, our picture and our claims."""
