"""Who may call a national service, and when: a budget that all workers of all nodes share, lanes, and fairness (Law 3).

| Module | What is there |
|---|---|
| `book` | who may call next: the whole of it as a value, pure; read its docstring first |
| `store` | the book in the database, changed by compare-and-set |
| `gate` | `Admission`: what waits in this worker, when the book is looked at, slots handed out at their moments |
| `waiting` | the queues of one worker |
| `timing` | the clock that all share, as seen from this worker |
| `concurrency` | how many calls may be in flight |
| `telling` | what all this tells by metrics, gathered |

Why it is built so: docs/decisions/0009-the-book-of-slots.md.
"""

from minispine.provider.admission.gate import Admission

__all__ = ["Admission"]
