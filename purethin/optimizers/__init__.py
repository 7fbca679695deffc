"""What optimizers keep of each parameter, and how that thins."""
