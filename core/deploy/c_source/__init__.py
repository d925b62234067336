"""An integer program as C99: what a microcontroller compiles, without heap, float or library."""
