"""How far two models' predictions of the next token are apart, as a loss and as a figure."""

import torch


def kl_terms(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    """The terms of KL(p ‖ q) in nats, from log-probabilities (…, V); their sum over V is the KL of each token."""
    return p.exp() * (p - q)


def divergence(
    student: torch.Tensor, teacher: torch.Tensor, kind: str, temperature: float = 1.0, top_k: int = 0
) -> torch.Tensor:
    """Mean divergence per token between two sets of logits (L, V), zero when they are equal, times T².

    forward_kl is KL(teacher ‖ student), reverse_kl is KL(student ‖ teacher), js is the Jensen–Shannon divergence
    (Hinton et al. 2015 for T²; Gu et al. 2024 for reverse KL). With `top_k`, both are renormalised over the
    teacher's k most likely tokens.
    """
    if top_k:
        teacher, kept = teacher.topk(min(top_k, teacher.shape[-1]), dim=-1)  # (L, k)
        student = student.gather(-1, kept)  # (L, k)
    q = (student / temperature).log_softmax(-1)
    p = (teacher / temperature).log_softmax(-1)
    if kind == "forward_kl":
        loss = _mean_kl(p, q)
    elif kind == "reverse_kl":
        loss = _mean_kl(q, p)
    else:
        m = torch.logsumexp(torch.stack([p, q]), dim=0) - torch.log(torch.tensor(2.0))
        loss = 0.5 * (_mean_kl(p, m) + _mean_kl(q, m))
    return loss * temperature**2


def _mean_kl(p: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
    return kl_terms(p, q).sum(-1).mean()
