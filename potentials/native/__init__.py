"""Kernels in C++ for the CPU, built on the user's machine at first use, with plain torch where there is no compiler."""
