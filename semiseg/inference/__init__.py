"""Images through a trained network: logits, predictions, export."""
