"""Who calls: keys, tokens and tickets. Knows no HTTP."""
