"""Playing: scenarios from their start to their end, undisturbed, killed, recorded and gone on with."""
