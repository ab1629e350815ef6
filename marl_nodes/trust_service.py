"""The service through which the operator overrules whom a node believes, the same in every node that judges."""

from marl_coordination.srv import SetTrust

from marl_core.mapping.replica import Replica
from marl_core.mapping.trust import Trust


def obey(trust: Trust, replica: Replica, request: SetTrust.Request, response: SetTrust.Response) -> SetTrust.Response:
    """Carry out an order from the next judgement on, or answer why not.

    Args:
        trust: of the node.
        replica: whose robots can be ordered about.
        request, response: of ``~/set_trust``.
    """
    orders = {SetTrust.Request.REINSTATE: trust.reinstate, SetTrust.Request.QUARANTINE: trust.quarantine}
    known = sorted({layer.robot for layer in replica.layers})
    if request.order not in orders:
        response.message = f'unknown order {request.order!r}; valid: {", ".join(orders)}'
    elif request.robot not in known:
        response.message = f'{request.robot!r} has no part in the map; known: {", ".join(known) or "nobody"}'
    else:
        orders[request.order](request.robot)
        response.success, response.message = True, f'{request.robot}: {request.order}'
    return response
