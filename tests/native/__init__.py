"""The C of the native kernel without Python, compiled by other compilers and for other machines."""
