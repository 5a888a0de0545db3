"""Who may call Spine, and when: the budget that all workers share, the lanes, and how many calls are in flight."""

from minispine.provider.admission.gate import Admission

__all__ = ["Admission"]
