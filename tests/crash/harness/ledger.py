"""Clients that write numbered rows and remember which commits were acknowledged, outside of what is tested.

A client's rows are 1, 2, 3 ...; the next is sent only after the last was acknowledged. So after a crash client c has
rows 1 to m without a gap, and m is the last acknowledged one or, when the crash came between commit and answer, one more."""

import subprocess
import threading

from .cluster import as_postgres
from .workplace import TestFailure, die_with_parent

SCHEMA = '''
create table ledger (client int, seq bigint, filler text, primary key (client, seq));
create index on ledger (filler);
create table ledger_head (client int primary key, seq bigint);
insert into ledger_head select c, 0 from generate_series(0, {last}) c;
'''
INSERT = '''with row as (insert into ledger values ({client}, {seq}, md5('{client}/{seq}') || repeat('x', {seq} % 700)) returning seq)
update ledger_head set seq = row.seq from row where client = {client} and ledger_head.seq = row.seq - 1 returning row.seq;
'''
VERIFY = '''
select h.client, h.seq, coalesce(max(l.seq), 0), count(l.seq),
	count(*) filter (where l.filler is distinct from md5(l.client || '/' || l.seq) || repeat('x', (l.seq % 700)::int) and l.seq is not null)
from ledger_head h left join ledger l using (client) group by h.client, h.seq order by h.client
'''


class Ledger:
    def __init__(self, place, clients):
        self.clients = clients
        self.acknowledged = [0] * clients
        self.file = open(place.log('ledger.acknowledged'), 'a', encoding='ascii', buffering=1)
        place.at_end(self.file.close)
        self.threads = []

    def create(self, cluster):
        cluster.psql(SCHEMA.format(last=self.clients - 1))

    def start(self, cluster):
        """The clients run until the server goes away."""
        self.threads = [threading.Thread(target=self._client, args=(cluster, c), daemon=True) for c in range(self.clients)]
        for thread in self.threads:
            thread.start()

    def _client(self, cluster, client):
        with subprocess.Popen(cluster.psql_command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True, preexec_fn=die_with_parent, **as_postgres()) as psql:
            try:
                while True:
                    seq = self.acknowledged[client] + 1
                    psql.stdin.write(INSERT.format(client=client, seq=seq))
                    psql.stdin.flush()
                    if psql.stdout.readline().strip() != str(seq):
                        break
                    self.acknowledged[client] = seq
                    self.file.write(f'{client} {seq}\n')
            except (BrokenPipeError, ValueError):
                pass
            finally:
                psql.kill()

    def join(self):
        for thread in self.threads:
            thread.join(60)
            if thread.is_alive():
                raise TestFailure('a ledger client still runs though its server is gone')
        self.threads = []

    def now(self):
        """What is acknowledged at this moment."""
        return list(self.acknowledged)

    def verify(self, cluster, at_least, exact=True):
        """Every acknowledged row is there. `exact`: and at most one more a client. Returns what is there."""
        there = []
        for line in cluster.value(VERIFY).splitlines():
            client, head, last, count, wrong = map(int, line.split('|'))
            what = f'{cluster.name}: ledger of client {client}: head {head}, last row {last}, {count} rows, acknowledged {at_least[client]}'
            if wrong:
                raise TestFailure(f'{what}: {wrong} rows have wrong contents')
            if not head == last == count:
                raise TestFailure(f'{what}: they contradict each other')
            if last < at_least[client]:
                raise TestFailure(f'{what}: ACKNOWLEDGED COMMITS ARE LOST')
            if exact and last > at_least[client] + 1:
                raise TestFailure(f'{what}: more rows than were ever sent')
            there.append(last)
        if len(there) != self.clients:
            raise TestFailure(f'{cluster.name}: the ledger has {len(there)} clients, not {self.clients}')
        return there

    def resume(self, there):
        """After recovery an un-acknowledged commit that survived counts as acknowledged: it must stay."""
        self.acknowledged = list(there)
