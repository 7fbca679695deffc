"""Repair after removal, in closed form, without training."""
