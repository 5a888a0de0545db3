"""PDS through TMS, Spine's message broker: HL7v3 in SOAP over HTTP, one exchange for each question."""

from minispine.spine.tms.pds import TmsPds, endpoint

__all__ = ["TmsPds", "endpoint"]
