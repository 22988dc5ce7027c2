"""Bindings of `roundel` to what has sockets and clocks, one framework a module."""
