"""Inference: one abstract forward pass, and the spec that it proves. Only `infer` and what rules
are made of leave it.
"""
