"""PDS over HL7v3: the queries we send and the answers that come back, as bytes.

`query` writes, `answer` reads and decides, `record` reads one person, `interactions` names the messages. Nothing here
sends anything, draws an id or reads a clock. Written to the MIM 6.3.01 message set (2008-A); answers of 2006-B and
2008-B are read too.
"""

from minispine.wire.hl7v3.answer import Answered, read_answer
from minispine.wire.hl7v3.interactions import Ids, action, interaction
from minispine.wire.hl7v3.query import QueryUnwritable, write_query

__all__ = ["Answered", "Ids", "QueryUnwritable", "action", "interaction", "read_answer", "write_query"]
