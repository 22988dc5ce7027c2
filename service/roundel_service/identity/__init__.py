"""Authentication: producer keys, JSON Web Tokens and tickets. Knows no HTTP."""
