"""What data say of a network, summed over batches: activations and gradients."""
