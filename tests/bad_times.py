"""Steps that no function of a schedule with T = 100 and three rows accepts, with the error that each gets."""

import torch

BAD_TIMES = [
    (0, ValueError, r"t = 0 is outside 1\.\.100"),
    (101, ValueError, r"t = 101 is outside 1\.\.100"),
    (-1, ValueError, r"t = -1 is outside 1\.\.100"),
    (1.0, TypeError, "t = 1.0 is of type float, expected an integer"),
    (True, TypeError, "t = True is of type bool, expected an integer"),
    (None, TypeError, "t = None is of type NoneType, expected an integer"),
    ([1, 2, 3], TypeError, r"t = \[1, 2, 3\] is of type list, expected an integer"),
    (torch.tensor([1, 0, 100]), ValueError, r"t\[1\] = 0 is outside 1\.\.100"),
    (torch.tensor([1, 5, 101]), ValueError, r"t\[2\] = 101 is outside 1\.\.100"),
    (torch.tensor(0), ValueError, r"t = 0 is outside 1\.\.100"),
    (torch.tensor([1.0, 2.0, 3.0]), TypeError, "t has dtype torch.float32, expected an integer dtype"),
    (torch.tensor([1j, 2j, 3j]), TypeError, "t has dtype torch.complex64, expected an integer dtype"),
    (torch.tensor([1, 0, 101]), ValueError, r"t\[1\] = 0 is outside 1\.\.100"),
    (torch.tensor([True, True, True]), TypeError, "t has dtype torch.bool, expected an integer dtype"),
    (torch.tensor([1, 2]), ValueError, r"t has shape \(2,\), expected \(3,\): a step for each row of x"),
    (torch.tensor([1]), ValueError, r"t has shape \(1,\), expected \(3,\)"),
    (torch.tensor([[1], [2], [3]]), ValueError, r"t has shape \(3, 1\), expected \(3,\)"),
]
