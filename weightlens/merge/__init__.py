"""Recipes, plans, methods and the engine that carries them out."""
