"""What a run will need before it starts: memory, time, price and place, from its config alone. Loads no torch."""
