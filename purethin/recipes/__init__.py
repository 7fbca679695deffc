"""Recipes: Distiller's YAML read, applied to a network, planned without training, and written for a
network.
"""

from purethin.recipes import curves as curves
