"""Training: recipes, the Lightning module, runs that resume, evaluation."""
