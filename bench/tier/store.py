"""A store with an object store behind it, as one of the systems that a cluster can live on."""

import host
import systems


class Store(systems.Neonfs):
    """`limit`: bytes that may be on this disk, None for all. `url`: of an object store that is empty, or with attach that has a store."""

    def __init__(self, name, scratch, cleanup, url, limit=None, options=()):
        super().__init__(name, scratch, cleanup, "back")
        self.url, self.limit, self.options = url, limit, list(options)

    def _tier_options(self):
        return [*(["--local-limit", str(self.limit)] if self.limit else []), *self.options]

    def setup(self):
        self._begin()
        host.run([self.program, "init", self.store, "--object-store", self.url, *self._tier_options()])
        self._mounted()

    def attach(self):
        """The same from the object store alone."""
        self._begin()
        host.run([self.program, "attach", self.url, self.store, *self._tier_options()])
        self._mounted()

    def _begin(self):
        systems.System.setup(self)
        self._store_step = self.cleanup.add(f"remove {self.store}", self._remove)

    def _mounted(self):
        self.mount()
        self._mount_step = self.cleanup.add(f"unmount {self.root}", self.unmount)

    def _remove(self):
        host.run(["rm", "-rf", self.store])

    def flush(self):
        host.run([self.program, "flush", self.store])

    def tier(self):
        """The tier's own counters (struct bd_tier_status)."""
        return self._status()["tier"]
