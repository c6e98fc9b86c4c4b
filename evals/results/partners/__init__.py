"""What lmms-eval and VLMEvalKit recorded, as sides of a comparison; `cli_ray.evals.results.evaluations` opens it."""
