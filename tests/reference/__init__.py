"""A PyTorch twin of the network, the losses and the training rules, written apart from semiseg/ to judge it.

Nothing here imports semiseg, and semiseg never imports this: what the two share is only the description of the method
and the parameter names of the published checkpoints.
"""
