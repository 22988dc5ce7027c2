"""For operators: health, metrics, the badge audit and the doctor."""
