"""The reference hub and DFSPs: a small real FSPIOP switch in processes of its own."""
