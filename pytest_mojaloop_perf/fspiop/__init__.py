"""The wire protocol of FSPIOP: signatures, ILP, headers, keys. Base: imports nothing of the stages."""
