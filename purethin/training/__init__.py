"""Training along a recipe: the trainer, what it trains, its state on disk, several processes, and
who watches.
"""
