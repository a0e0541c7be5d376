"""Pictures into sound: V2A-Mapper, taken apart.

The rooms of this package follow the data: a picture goes in at `soundworld` and `data`, and a measured sound comes out
at `evaluation`.
"""
