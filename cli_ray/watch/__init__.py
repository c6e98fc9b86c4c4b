"""What runs, sweeps and results tell from their files alone."""
