"""What a model takes, from its sizes alone: layers, gradients, parameters, FLOPs, memory. Loads no torch."""
