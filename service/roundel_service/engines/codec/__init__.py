"""The stored form of a mailbox: a snapshot, and a log of the entries after it.

All engines with a store share this form. A snapshot is four lines of JSON: the head
(epoch, version, gauges and times), the items, the results of operation ids, and the
latest changes. The head can be read if another line is damaged. An entry is one line,
and says its number after the snapshot.

An engine writes an entry for each commit of a mailbox, and now and then a snapshot,
which replaces all entries before it: when `is_snapshot_due()`, when there is no entry
between the two records, and when the entry withdraws text. So what was withdrawn is in
no row. Rows contain no control characters except the line feeds of a snapshot.
"""
