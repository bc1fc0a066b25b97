"""The paper figure by figure: what it says, our picture and our claims."""
