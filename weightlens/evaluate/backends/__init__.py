"""Ways to make a model answer, behind one interface."""
