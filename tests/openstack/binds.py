"""A mechanism driver for neutron's ML2 that binds every port: there are no agents and no packets here."""
from neutron_lib.api.definitions import portbindings
from neutron_lib.plugins.ml2 import api


class BindsAll(api.MechanismDriver):
    def initialize(self):
        pass

    def bind_port(self, context):
        for segment in context.segments_to_bind:
            context.set_binding(segment[api.ID], portbindings.VIF_TYPE_OTHER, {}, status="ACTIVE")
            return
