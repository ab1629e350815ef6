"""The service through which the operator overrules whom a node believes, the same in every node that judges.

``tell`` is the operator's end, ``obey`` the node's.
"""

from collections.abc import Callable, Sequence

from marl_coordination.srv import SetTrust
from rclpy.client import Client

from marl_core.mapping.replica import Replica
from marl_core.mapping.trust import Trust


def tell(judges: Sequence[Client], robot: str, order: str,
         heed: Callable[[str, SetTrust.Response], None]) -> list[Client]:
    """Give an order to those of the judges who are there, without waiting for what they say.

    Args:
        judges: clients of the services.
        robot, order: of the service.
        heed: gets the name of a service and its answer, whenever that comes.

    Returns:
        Those who are not there, and were not told.
    """
    absent = []
    for judge in judges:
        if judge.service_is_ready():
            future = judge.call_async(SetTrust.Request(robot=robot, order=order))
            future.add_done_callback(lambda answer, name=judge.srv_name: heed(name, answer.result()))
        else:
            absent.append(judge)
    return absent


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
