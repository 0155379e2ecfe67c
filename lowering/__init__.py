"""From a reference model to a step module: caches explicit, in one of the forms and precisions."""
