"""The Spine side over HL7v3 SOAP messages."""
