"""How weights are rounded once their grids are known: to the nearest level, or so that outputs change least."""
