"""The items of benchmarks: where they lie, their rows and images, and a look at all before a model is loaded."""
