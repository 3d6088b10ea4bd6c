"""Diffusion in 60 lines: data, schedule, network, training, sampling."""
import torch
from torch import nn

STEPS, BATCH = 1000, 256                  # of training, and points in each
angle = torch.arange(8) * (torch.pi / 4)
centres = torch.stack([angle.cos(), angle.sin()], dim=1) * 1.98**0.5

def ring(n):                              # eight clouds with a scatter of 0.1
    return centres[torch.randint(8, (n,))] + 0.1 * torch.randn(n, 2)

torch.manual_seed(0)
data = ring(20_000)

def batch():
    return data[torch.randint(len(data), (BATCH,))]

def mlp(inputs, outputs, width=128):
    return nn.Sequential(nn.Linear(inputs, width), nn.Tanh(),
                         nn.Linear(width, width), nn.Tanh(),
                         nn.Linear(width, width), nn.Tanh(),
                         nn.Linear(width, outputs))

T = 100                                   # steps from the data to noise
turn = torch.arange(T + 1) / (T + 1) * (torch.pi / 2)
signal, noise = turn.cos(), turn.sin()    # how much of each is left at t

def train(rate=7e-3):
    net = mlp(3, 2, width=180)            # in: the point and t; out: v
    optimizer = torch.optim.Adam(net.parameters(), rate)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = rate * (1 - step / STEPS)
        t = torch.randint(1, T + 1, (BATCH, 1))
        x0, eps = batch(), torch.randn(BATCH, 2)
        xt = signal[t] * x0 + noise[t] * eps
        v = signal[t] * eps - noise[t] * x0         # where more noise leads
        loss = (net(torch.cat([xt, t / T], dim=1)) - v).square().mean()
        optimizer.zero_grad(), loss.backward(), optimizer.step()
    return net

@torch.no_grad()
def sample(net, n):
    path = [torch.randn(n, 2)]            # the way from noise to data
    for t in range(T, 0, -1):
        x, s = path[-1], t - 1
        v = net(torch.cat([x, torch.full((n, 1), t / T)], dim=1))
        x0, eps = signal[t] * x - noise[t] * v, noise[t] * x + signal[t] * v
        new = noise[s] / noise[t] * (1 - (signal[t] / signal[s])**2).sqrt()
        old = (noise[s]**2 - new**2).sqrt()
        path.append(signal[s] * x0 + old * eps + new * torch.randn(n, 2))
    return path

points = sample(train(), 2000)[-1]
seen = torch.histogramdd(points, [36, 18], range=[-1.8, 1.8, -1.8, 1.8]).hist
for row in seen.T.flip(0):
    print("".join(" .:*#"[min(int(n / 3 + 0.9), 4)] for n in row))
distance, nearest = torch.cdist(points, centres).min(dim=1)
found = nearest[distance < 0.3].bincount(minlength=8)
print(f"{found.sum() / 2000:.0%} are within three standard deviations of")
print("a centre;", (found > 25).sum().item(), "of the 8 centres are found")
