# SPDX-License-Identifier: Apache-2.0
"""``lagr replay``: a recorded bag in, labels, cost maps, metrics and a report out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from perception.config import Config, load_config

if TYPE_CHECKING:
    from perception.replay import Outputs

TOPIC_KEYS = ('image_topic', 'right_image_topic', 'depth_topic', 'lidar_topic', 'bumper_topic',
              'odometry_topic')


def replay(
    bag: Annotated[Path, typer.Argument(help='rosbag2 folder, or a bare .mcap or .db3 file')],
    out: Annotated[Path, typer.Option(help='Folder for bag, metrics.json and report.html')],
    config: Annotated[Path | None, typer.Option(help='YAML file of parameters')] = None,
    set_: Annotated[list[str] | None, typer.Option(
        '--set', help='section.key=value, over the file; may be repeated')] = None,
    engine: Annotated[str | None, typer.Option(help='See network.engine; auto')] = None,
    max_frames: Annotated[int | None, typer.Option(min=1, help='Stop after so many')] = None,
    image_topic: Annotated[str, typer.Option(help='Left or only camera')] = '',
    right_image_topic: Annotated[str, typer.Option(help='Right camera')] = '',
    depth_topic: Annotated[str, typer.Option(help='Registered depth')] = '',
    lidar_topic: Annotated[str, typer.Option(help='Point cloud in place of stereo')] = '',
    bumper_topic: Annotated[str, typer.Option(help='std_msgs/Bool')] = '',
    odometry_topic: Annotated[str, typer.Option(help='nav_msgs/Odometry')] = '',
) -> None:
    """Run a recorded bag through the pipeline; no ROS needed."""
    from perception.replay import Outputs

    topics = (image_topic, right_image_topic, depth_topic, lidar_topic, bumper_topic,
              odometry_topic)
    overrides = [f'input.{key}={topic}' for key, topic in zip(TOPIC_KEYS, topics) if topic]
    overrides += [f'network.engine={engine}'] if engine else []
    settings = load_config(config, [*overrides, *(set_ or [])])
    summary = replay_with_progress(bag, out, settings, max_frames)
    print_summary(summary, Outputs(out))


def replay_with_progress(
    bag: Path, out: Path, config: Config, max_frames: int | None = None
) -> dict[str, Any]:
    """Replay on the terminal: says what was found, shows a bar, returns the metrics."""
    from perception.replay import replay as run

    console = Console()
    columns = (TextColumn('replay'), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task('replay', total=None)
        return run(
            bag, out, config, max_frames=max_frames,
            on_found=lambda lines: console.print(
                '\n'.join(lines), markup=False, highlight=False, soft_wrap=True),
            on_progress=lambda done, total: progress.update(task, completed=done, total=total),
        )


def print_summary(summary: dict[str, Any], outputs: 'Outputs') -> None:
    """A few lines on what came out, and where it lies."""
    plane, total = summary['plane'], summary['total_ms']
    typer.echo(f"{summary['frames']} frames, {summary['frames_with_plane']} with a fresh plane")
    if plane['height_m'] is not None:
        typer.echo(f"camera {plane['height_m']:.2f} m above the ground, pitch "
                   f"{plane['pitch_rad']:+.3f} rad, roll {plane['roll_rad']:+.3f} rad")
    if total:
        typer.echo(f"{total['p50']:.1f} ms a frame (p99 {total['p99']:.1f})")
    for what, told in (('engine', summary), ('scenes', summary['scene'])):
        if told:
            typer.echo(f"{what:8}{told['engine']} {told['precision']} ({told['engine_why']})")
    learned = [('learned', outputs.state)] if summary['online'] and outputs.state.exists() else []
    for what, path in (('bag', outputs.bag), ('metrics', outputs.metrics),
                       ('report', outputs.report), *learned):
        typer.echo(f'{what:8}{path}')
