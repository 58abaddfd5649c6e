"""The non-saturating loss, and the penalty that keeps the discriminator from being steep at real images."""

import torch
import torch.nn.functional as F
from torch import Tensor


def discriminator_loss(of_real: Tensor, of_generated: Tensor) -> Tensor:
    """Return ``-log sigmoid(D(x)) - log(1 - sigmoid(D(G(z))))``, mean over the batch."""
    return F.softplus(-of_real).mean() + F.softplus(of_generated).mean()


def generator_loss(of_generated: Tensor) -> Tensor:
    """Return ``-log sigmoid(D(G(z)))``, whose gradient does not vanish where the discriminator is sure.

    Source: Goodfellow et al., "Generative adversarial nets" (2014), section 3.
    """
    return F.softplus(-of_generated).mean()


def r1_penalty(images: Tensor, judgement: Tensor) -> Tensor:
    """Return half the mean squared gradient norm of the discriminator at real images.

    Args:
        images: Real ones that require a gradient.
        judgement: Of the discriminator on them, one number each.

    Source: Mescheder, Geiger & Nowozin, "Which training methods for GANs do actually converge?" (ICML 2018).
    """
    (gradient,) = torch.autograd.grad(judgement.sum(), images, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean() / 2
