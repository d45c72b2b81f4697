"""The commands of `vitrine train`, by topic. Only those that train or measure import torch."""
