"""Reports of runs, sweeps and results: pure functions from their files to one HTML file."""
