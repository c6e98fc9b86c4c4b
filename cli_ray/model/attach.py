"""Turn a loaded plain model into a CLI model, in place: what `build` does with models that have no injection yet."""

from transformers import PreTrainedModel

from cli_ray.config import InjectionConfig
from cli_ray.model.families import cli_classes
from cli_ray.model.loss import Head


def attach(model: PreTrainedModel, injection: InjectionConfig, seed: int = 0) -> PreTrainedModel:
    """Give a plain model of one of the families the modules of `injection`, drawn from `seed`, and return it.

    Its own weights are neither copied nor changed. New parameters take the projector's dtype and device. No global
    generator is touched.

    Raises:
        ValueError: another model class, another text model than its adapter knows, layers that do not exist, or a
            kind of injection that its projector cannot have.
    """
    classes = cli_classes()
    if type(model) not in classes:
        names = ", ".join(kind.__name__ for kind in classes)
        raise ValueError(f"cannot attach injection to {type(model).__name__}: give one of {names}")
    target = classes[type(model)]
    config = target.config_class.from_plain(model.config, injection)
    # Parts share their config objects with the whole, and settings such as the attention kernel live there.
    config.vision_config, config.text_config = model.config.vision_config, model.config.text_config
    model.__class__, model.model.__class__ = target, target.inner_class
    model.lm_head.__class__ = Head
    model.config = model.model.config = config
    inner = model.model
    inner.install()
    for name in ("_no_split_modules", "_skip_keys_device_placement"):
        getattr(model, name).update(getattr(inner, name))
    reference = next(inner.projector.parameters())
    for module in inner.injected_modules():
        module.to(device=reference.device, dtype=reference.dtype)
    inner.draw(seed)
    return model.train(model.training)
