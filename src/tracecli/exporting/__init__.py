"""What was recorded, in the formats of other tools."""
