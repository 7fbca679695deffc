"""Recipes: Distiller's YAML read, applied to a network, planned without training, and written for a
network.
"""
