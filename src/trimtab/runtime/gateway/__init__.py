"""Gateway processes: they speak the protocols on cores of their own and hand requests to the one data plane.

    clients ⇄ front process (REST, gRPC, `remote.RemoteService`)
                  ⇅ a local stream socket: `messages` in the form of `wire`, many calls at once (`connection`)
              data-plane process (`answering.ServiceServer`, its fronts kept running by `fronts.Fronts`)

There is one queue per task whatever the number of gateways: what they share is the work of parsing, not the pool.
"""
